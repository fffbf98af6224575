// Where the server is on its host: at the root, or below a path that a proxy gives it.

/** The address of one of the server's paths, such as /ws. */
export function at(path: string): string {
  return (document.documentElement.dataset.base ?? "") + path;
}
