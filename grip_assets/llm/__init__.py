"""The client of a language model over HTTP. It asks any question and keeps every answer, and knows nothing of rubrics.

Modules: question (a question and how its answer is read), objects (JSON in an answer), quoting (hostile text in a
prompt), endpoint (address and one request), reply (one response), pace (speed), spending (caps), answers (the store),
asker (many questions, one request each), batch (many questions as batch jobs). The judge that asks is in judges/llm.py.
"""
