"""From a layer descriptor to events: windows, rows of a window, neurons with a spike."""
