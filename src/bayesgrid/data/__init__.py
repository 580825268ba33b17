"""Rows: obtaining data sets, reading them as tables, splitting them, and checking that splits do not leak."""
