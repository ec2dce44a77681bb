"""Models that Hugging Face's transformers saved, one file for what each kind of them needs."""
