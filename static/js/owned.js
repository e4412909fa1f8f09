// What a browser keeps of somebody's work belongs to their account: several people may use one browser, one after another.
export const account = Number(document.documentElement.dataset.account ?? 0);

/** The name under which this account's own is kept, in localStorage or sessionStorage. */
export const owned = (name) => `${name}:${account}`;
