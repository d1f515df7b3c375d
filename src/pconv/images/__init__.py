"""Photos as people have them: files to pixels and back with nothing lost, colours for the network, and holes."""
