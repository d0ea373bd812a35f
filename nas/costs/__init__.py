"""What a search may aim at besides accuracy: exact counts, and predicted speed on hardware."""
