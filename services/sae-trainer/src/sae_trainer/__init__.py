"""Trains sparse coders and measures them."""
