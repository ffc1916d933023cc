"""What every system leaves behind: pages, folders, files of arrays, and how figures look."""
