"""The golden model in exact integers, its float twin, and the reference both are compared with."""
