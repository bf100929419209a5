"""The harness is imported by the tests of Testing/module; pytest collects nothing here (doctests need Slicer's Qt)."""

collect_ignore_glob = ["*"]
