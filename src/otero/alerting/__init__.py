"""From alerts to notifications: inbox, routes, groups, inhibition, silences, times, receivers, and the ledger of it all."""
