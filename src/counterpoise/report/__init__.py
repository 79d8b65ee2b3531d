"""Reports: tables, figures and one page, from RunRecords and valuations only."""
