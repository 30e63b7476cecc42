// What the page's scripts find in their global scope, of the libraries that are vendored.

declare function importScripts(...urls: string[]): void;

declare const SparkMD5: {
  ArrayBuffer: { hash(bytes: ArrayBuffer, raw?: boolean): string };
};

declare function SwaggerUIBundle(options: object): object;
