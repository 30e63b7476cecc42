"""Pages for people: `page`, that of the API (`api_page`), and those of shares (`shared`)."""
