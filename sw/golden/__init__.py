"""The golden model in exact integers, its float twin, and what both are held against."""
