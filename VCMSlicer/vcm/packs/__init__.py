"""Packs: folders of weights with a manifest, found, checked, imported and downloaded."""
