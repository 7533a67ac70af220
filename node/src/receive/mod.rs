//! Stage 1, bytes on a socket -> `Arrival`: framing per protocol, size limits, back-pressure. Does not look inside a record.
