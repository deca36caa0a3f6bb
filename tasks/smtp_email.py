"""A Prefect notification block that speaks plain SMTP: Prefect itself has e-mail by SendGrid only."""

import asyncio
import smtplib
import ssl
from contextlib import suppress
from email import policy
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Annotated, Literal

from prefect.blocks.abstract import NotificationBlock
from pydantic import Field, SecretStr

from nightbench.judge.words import one_line
from tasks.delivery import Undelivered

__all__ = ["SmtpEmail"]

Address = Annotated[str, Field(pattern=r"^[!-~]+@[A-Za-z0-9.\-\[\]:]+$", max_length=254)]

# Plain ASCII on the wire, whatever the server has learnt since RFC 5321.
_WIRE = policy.SMTP.clone(cte_type="7bit")


class SmtpEmail(NotificationBlock):
    """
    Sends a notification as an e-mail through any SMTP server.

    Examples:
        ```python
        from tasks.smtp_email import SmtpEmail

        SmtpEmail(host="mail.example.org", sender="bench@example.org", recipients=["team@example.org"]).save("team")
        ```
    """

    _block_type_name = "SMTP email"
    _block_type_slug = "smtp-email"

    host: str = Field(description="The SMTP server.")
    port: int = Field(default=587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls",
        description="How the connection is encrypted; the server's certificate is always checked. "
        "Without encryption nobody logs in.",
    )
    sender: Address
    recipients: Annotated[list[Address], Field(min_length=1)]
    username: str | None = Field(default=None, description="Leave empty for a server that asks for none.")
    password: SecretStr | None = None
    timeout_s: float = Field(default=20.0, gt=0, description="Of each answer that the server owes us.")

    def block_initialization(self) -> None:
        if self.username is not None and self.security == "none":
            raise ValueError("security: a password is not sent unencrypted; use starttls or tls, or leave username out")

    async def notify(self, body: str, subject: str | None = None) -> None:
        """Send one e-mail to all recipients; it is delivered if the server took it for at least one of them.

        Raises:
            Undelivered: it did not go out, or nobody knows.
        """
        await asyncio.to_thread(self._send, self._message(body, subject))

    def _message(self, body: str, subject: str | None) -> EmailMessage:
        message = EmailMessage(policy=_WIRE)
        message["From"], message["To"] = self.sender, ", ".join(self.recipients)
        message["Subject"] = one_line(subject or "nightbench")
        message["Date"] = formatdate()
        # Of the sender's domain: this machine's own name is nobody's business, and may take a slow DNS to find.
        message["Message-ID"] = make_msgid(domain=self.sender.rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office replies, please
        message.set_content(body, cte="quoted-printable")
        return message

    def _send(self, message: EmailMessage) -> None:
        """Until its content is on the way a mail surely has not been sent; afterwards only the answer tells."""
        connection = None
        try:
            connection = self._connection()
            self._expect(connection.mail(self.sender), "the sender was refused")
            accepted = [connection.rcpt(each)[0] // 100 == 2 for each in self.recipients]
            if not any(accepted):
                raise Undelivered("all recipients were refused", certain=True)
            try:
                answer = connection.data(message.as_bytes())
            except smtplib.SMTPDataError as error:
                raise Undelivered(f"the mail server refused content with {error.smtp_code}", certain=True) from None
            except (OSError, smtplib.SMTPException) as error:
                what = f"the mail server took the content and did not answer ({type(error).__name__})"
                raise Undelivered(what, certain=False) from None
            self._expect(answer, "the content was refused")
            with suppress(OSError):
                connection.quit()
        # A host name that cannot be one, or a password that is not ASCII, is a ValueError.
        except (OSError, ValueError, smtplib.SMTPException) as error:
            code = f" {error.smtp_code}" if isinstance(error, smtplib.SMTPResponseException) else ""
            what = f"the mail server could not be talked to ({type(error).__name__}{code})"
            raise Undelivered(what, certain=True) from None
        finally:
            if connection is not None:
                connection.close()

    def _connection(self) -> smtplib.SMTP:
        """Greeted, encrypted and logged in, as far as configured."""
        context = ssl.create_default_context()
        if self.security == "tls":
            connection: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout_s, context=context)
        else:
            connection = smtplib.SMTP(self.host, self.port, timeout=self.timeout_s)
        try:
            if self.security == "starttls":
                connection.starttls(context=context)
            connection.ehlo_or_helo_if_needed()
            if self.username is not None:
                connection.login(self.username, self.password.get_secret_value() if self.password else "")
        except BaseException:
            connection.close()
            raise
        return connection

    @staticmethod
    def _expect(answer: tuple[int, bytes], otherwise: str) -> None:
        # The server's words stay out: it may repeat whatever it was told.
        if answer[0] // 100 != 2:
            raise Undelivered(f"{otherwise} with {answer[0]}", certain=True)
