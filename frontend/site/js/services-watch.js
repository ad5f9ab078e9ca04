// How the services are, asked again and again by whoever shows it.

import { services } from './api.js';

/**
 * The services as the API tells them now.
 * @returns {Promise<object[]|null>} none where it refuses to tell, as without a key or the scope for it: then it is there,
 *   and of the services nothing is known; null where nobody answers
 */
export async function servicesNow() {
  try {
    return await services();
  } catch ({ status }) {
    return status >= 400 && status < 500 ? [] : null;
  }
}
