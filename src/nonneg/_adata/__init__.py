"""The bridge: the only folder that knows both AnnData and arrays."""
