"""Where an encoder's weights come from: the package itself, a cache, a download, a file, torchvision."""
