"""What the paper defines: the layers and the network."""
