"""Published numbers beside reproduced ones: `compare` gives each its verdict."""
