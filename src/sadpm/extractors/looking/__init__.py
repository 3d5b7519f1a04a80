"""Networks that look at images, what they saw of the real ones, and how a large set is measured."""
