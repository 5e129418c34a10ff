"""Flat vectors: which tensor lies where, blocks of them, on disk, exact order statistics. The ground floor."""
