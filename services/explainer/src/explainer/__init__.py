"""Writes an explanation for each latent, from windows of train documents in which it fires."""
