//! Beside the line: the ledger of every question, answer and ledger head, durable before it is sent (LED-1).
