"""Images and their captions: annotations, image files, the network that makes features, their store."""
