"""The page and the HTTP interface: `pconv serve`. Needs the extra `serve`."""
