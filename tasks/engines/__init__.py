"""Engines that measure and are not shipped: the references, which run a checkpoint folder."""
