"""Memory Wrap (Applied Intelligence 2022)."""
