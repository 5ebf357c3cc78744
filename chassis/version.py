"""The release that this tree is; `make release` writes it here and wherever else it stands."""

VERSION = "0.1.0"
