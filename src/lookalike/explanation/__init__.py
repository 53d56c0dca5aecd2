"""The Explanation record, support influence, drawings."""
