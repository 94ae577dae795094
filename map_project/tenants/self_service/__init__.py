"""The API of API keys: a key with the scope `keys` lists, creates, rotates and revokes its tenant's keys."""
