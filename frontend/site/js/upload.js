// A file on its way to the API. It goes on while another view is looked at, or the page in another language.

import { sendFile } from './api.js';
import { keepFileName } from './file-names.js';

/** Tells by `sent` that more of the file has gone. */
export class Upload extends EventTarget {
  #ending = new AbortController();

  /** @param {File} file @param {{type: string, mapping: Record<string, string>}} how as in `sendFile` */
  constructor(file, how) {
    super();
    this.file = file;
    this.how = how;
    /** How much has gone, from 0 to 1. */
    this.share = 0;
    /** @type {Promise<import('./api.js').Job>} that the file has become; may be asked for later */
    this.job = this.#send();
    this.hasFailed = false;
    this.job.catch(() => { this.hasFailed = true; });
  }

  async #send() {
    const tell = (share) => {
      this.share = share;
      this.dispatchEvent(new Event('sent'));
    };
    const job = await sendFile(this.file, this.how, tell, this.#ending.signal);
    keepFileName(job.id, this.file.name);
    return job;
  }

  /** Send no more of it. */
  end() {
    this.#ending.abort();
  }
}
