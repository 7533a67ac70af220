terraform {
  # 1.11: write-only arguments, and conditions of variables that name other variables.
  required_version = ">= 1.11.0"
}
