/** Where a server is to be found. */

/** Where it really listens. */
export interface Address {
  readonly host: string;
  readonly port: number;
  readonly url: string;
}
