"""What people read: tables, figures, pages, model cards, the paper's figures next to ours."""
