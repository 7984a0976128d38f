export const greeting = "built by pnpm";
