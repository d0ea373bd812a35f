#!/bin/sh
# How close to B0 does the MnasNet-style search get at 400M MACs, with the reward that the search for B0 used?
set -e
mnas search --target-macs 400M --objective soft --controller ppo --trials 1000 --out runs/rediscover
mnas freeze runs/rediscover --name rediscovered
mnas compare rediscovered efficientnet_b0
