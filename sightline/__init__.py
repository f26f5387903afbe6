"""Sightline's runtime: what a packaged service is made of.

This package is the whole of the wheel. It knows how to read a model folder written by the pipeline (`contract`), to turn
encoded images into the model's input (`preprocess`) and its outputs into results (`postprocess`), to run it
(`engines`) and to answer over HTTP (`service`). It never imports what trains models.
"""
