"""Image files: photos with all their metadata, read and written without loss, and their colours for the network."""
