import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["web/static/dist/", "build/"] },
  ...tseslint.configs.recommended,
  { rules: { "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }], eqeqeq: "error", "prefer-const": "error" } },
);
