"""The version this stand-in claims; the release archive is built with another text here for each release."""

VERSION = "0.32.15"
