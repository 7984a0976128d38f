export const marker = "first";
