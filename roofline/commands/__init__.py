"""The commands of `roofline`, one module each; `options` and `show` are what they share."""
