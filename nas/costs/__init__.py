"""Costs that can be targets of a search: exact counts, and predicted speed on hardware."""
