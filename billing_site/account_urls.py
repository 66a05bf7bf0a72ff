"""`/account/…`: of allauth's addresses only what is offered. There is no signup and no change of address here."""

from allauth.account import views as account
from allauth.mfa.base import views as mfa
from allauth.mfa.recovery_codes import views as codes
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as passkeys
from django.urls import path, re_path
from django.views.generic import RedirectView

from billing_site import account_views

urlpatterns = [
    path("", account_views.account, name="account"),
    path("login/", account.login, name="account_login"),
    path("login/passkey/", passkeys.login_webauthn, name="mfa_login_webauthn"),
    path("second-step/", mfa.authenticate, name="mfa_authenticate"),
    path("logout/", account.logout, name="account_logout"),
    path("confirm/", account.reauthenticate, name="account_reauthenticate"),
    path("confirm/code/", mfa.reauthenticate, name="mfa_reauthenticate"),
    path("confirm/passkey/", passkeys.reauthenticate_webauthn, name="mfa_reauthenticate_webauthn"),
    path("password/", account_views.ChangePassword.as_view(), name="account_change_password"),
    # Whoever has none yet gets a link by mail
    path("password/set/", RedirectView.as_view(pattern_name="account_reset_password"), name="account_set_password"),
    path("password/reset/", account.password_reset, name="account_reset_password"),
    path("password/reset/sent/", account.password_reset_done, name="account_reset_password_done"),
    path("password/reset/done/", account.password_reset_from_key_done, name="account_reset_password_from_key_done"),
    re_path(
        r"^password/reset/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>[0-9A-Za-z-]+)/$",
        account_views.ResetPassword.as_view(),
        name="account_reset_password_from_key",
    ),
    path("two-step/", account_views.two_step, name="mfa_index"),
    path("two-step/app/", account_views.ActivateTOTP.as_view(), name="mfa_activate_totp"),
    path("two-step/app/remove/", totp.deactivate_totp, name="mfa_deactivate_totp"),
    path("two-step/codes/", codes.view_recovery_codes, name="mfa_view_recovery_codes"),
    path("two-step/codes/new/", codes.generate_recovery_codes, name="mfa_generate_recovery_codes"),
    path("two-step/codes.txt", codes.download_recovery_codes, name="mfa_download_recovery_codes"),
    path("two-step/passkeys/", RedirectView.as_view(pattern_name="mfa_index"), name="mfa_list_webauthn"),
    path("two-step/passkeys/add/", account_views.AddPasskey.as_view(), name="mfa_add_webauthn"),
    path("two-step/passkeys/<int:pk>/", passkeys.edit_webauthn, name="mfa_edit_webauthn"),
    path("two-step/passkeys/<int:pk>/remove/", passkeys.remove_webauthn, name="mfa_remove_webauthn"),
    path("sessions/end/", account_views.end_sessions, name="end_sessions"),
]
