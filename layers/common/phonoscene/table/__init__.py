"""The jobs table: everything of DynamoDB."""
