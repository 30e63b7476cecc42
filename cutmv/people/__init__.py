"""The people who use a deployment: their accounts, API keys, sessions and quotas."""
