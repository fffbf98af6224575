import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["web/static/dist/", "build/"] },
  ...tseslint.configs.recommended,
  { rules: { "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }], eqeqeq: "error", "prefer-const": "error" } },
  {
    // The server may be below a path.
    files: ["web/static/**/*.ts"],
    ignores: ["**/*.test.ts"],
    rules: {
      "no-restricted-syntax": [
        "error",
        {
          selector: "CallExpression:matches([callee.name=/^(fetch|post)$/], [callee.property.name=/^(send|post)$/]) > :matches(Literal[value=/^\\//], TemplateLiteral[quasis.0.value.raw=/^\\//]).arguments:first-child",
          message: "An address of the server is at(path), from base/base.ts.",
        },
      ],
    },
  },
);
