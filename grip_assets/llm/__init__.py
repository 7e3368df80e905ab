"""The LLM judge: what it is shown and must answer (prompt), one request (endpoint), how fast and how much (pace),
many requests (judge), and the same as batch jobs (batch). Answers are kept by llm/answers.py."""
