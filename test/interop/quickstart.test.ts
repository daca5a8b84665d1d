test.todo('the cosign commands that quickstart prints sign a file and verify it as they stand');
