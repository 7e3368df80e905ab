"""The client of a language model over HTTP. It asks any question and keeps every answer, and knows nothing of rubrics.

question (a question and how its answer is read), objects (JSON in an answer), quoting (hostile text in a prompt),
endpoint (where and one request), reply (one response), pace (how fast), spending (how much), answers (the store),
asker (many questions, one request each), batch (the same as batch jobs). Who asks is elsewhere: judges/llm.py.
"""
